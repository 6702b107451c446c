"""Sentences that have nothing to do with any programming answer, and the words that such answers are made of."""

from __future__ import annotations

ASIDES = (
    "Bread tastes best on the morning after a slow night in a cool kitchen.",
    "Most lighthouses along that coast are made of granite from the nearby hills.",
    "My neighbour grows tomatoes on a balcony that hardly gets any sun.",
    "Penguins keep their eggs warm on their feet through the polar winter.",
    "The old tram still climbs the hill behind the cathedral every half hour.",
    "Green tea loses its taste when the water is too hot.",
    "Some violins made three centuries ago are still played in concerts today.",
    "A ripe pear gives way a little when you press it near the stem.",
    "Migrating geese take turns at the front because flying there is hardest.",
    "The museum in the harbour owns fishing boats from four different decades.",
    "Snow fell so late that spring that the apple blossom froze.",
    "Camels can drink more than a hundred litres of water within minutes.",
    "Stiff hiking boots should be worn at home before a long tour in the Alps.",
    "The town hall clock has been five minutes late since the great storm.",
    "Honey hardly ever spoils, even after many years in a cellar.",
    "In many mountain villages the cows come home with flowers on their horns.",
    "The river freezes over in January, and children skate to school.",
    "Octopuses have three hearts and rather blue blood.",
    "Fresh basil belongs on the pizza only after it has left the oven.",
    "The night train to the sea leaves shortly before midnight in summer.",
    "Marathon runners often eat a large plate of pasta on the eve of a race.",
    "Her grandmother knitted woollen socks for the whole village.",
    "Chess was played at royal courts long before it came to coffee houses.",
    "Coral reefs shelter about a quarter of all fish in the ocean.",
    "The bakery on the corner sells warm cinnamon rolls on Sundays.",
    "Whales sing differently in different parts of the Pacific.",
    "An umbrella is of little help when the wind blows from the side.",
    "The opera house has a ceiling painted with clouds and swallows.",
    "Potatoes came to Europe from the high valleys of the Andes.",
    "Cats sleep for more than half of the day, preferably in the sun.",
    "The ferry carries bicycles free of charge outside the holiday season.",
    "Roses should be pruned when the forsythia begins to bloom.",
    "A bright comet was seen over the bay last autumn.",
    "The football club won the cup in a heavy downpour.",
    "Old legends speak of an island there that no sailor has ever reached.",
    "Ripe olives taste bitter until they have lain in brine for weeks.",
    "The blacksmith of the village also pulled teeth in those days.",
    "Swifts spend nearly all their lives in the air and even sleep there.",
    "A cup of strong coffee after lunch keeps many people awake at night.",
    "The cherry blossom along the canal attracts visitors from far away.",
    "Elephants greet their relatives with a low rumble that carries for miles.",
    "The carpenter prefers oak for doors and ash for chairs.",
    "Mushrooms should never be gathered after a frosty October night.",
    "Volcanic soil makes for excellent vineyards on the southern slope.",
    "The theatre hands out blankets for performances in the open air.",
    "Dolphins were seen playing in the bow wave of the ferry.",
    "A thunderstorm cooled the air on the hottest afternoon of July.",
    "The monks brewed a dark beer that was famous far beyond the abbey.",
    "Saffron is picked by hand from purple crocus flowers.",
    "Glaciers in that valley have retreated by several hundred metres.",
    "The painter mixed his own blue from crushed stones.",
    "Wild horses still graze on the salt meadows behind the dunes.",
    "Lemon juice keeps peeled apples from turning brown.",
    "The choir rehearses in the chapel every Thursday night.",
    "Foxes have become quite common in the suburbs of the capital.",
    "A hammock between two palms was all the furniture he owned.",
    "The Moon looks larger near the horizon than high above the roofs.",
    "Skiers wait for the first cable car long before sunrise.",
    "Beekeepers move their hives to the heather in August.",
    "The mayor opened the summer festival with a short speech and a waltz.",
)
"""Sixty, on weather, food, animals, travel and towns. None shares a word with `COMPUTING`; a test holds it."""

_COMPUTING = """
    able accept access accumulate actual add additional adjust algorithm allow alphabet answer api append apply
    approach argument array ascend ask assert assign assume attribute average avoid back base basic behavior
    behaviour better binary bit block bool boolean boundary branch break bug build built byte cache calculate call
    case catch cell certainly change character check class clean clear clearer client code collect collection
    column combination combine comment compare comparison complete complex complexity compute concatenate condition
    consider constant contain convert copy correct count counter course create csv current custom data database
    date debug decimal decode decorator default define definition delete depend descend describe detail determine
    dict dictionary difference digit directly divide division document documentation duplicate edge efficient
    either element else empty encode end ensure entire entry environment equal error evaluate exactly example
    except exception execute exist exit expect expected explain explanation expression extend extra extract
    factorial false fast feature feel field file fill filter final find fix flag float follow form format formula
    found framework function further general generate generator global go goal graph group handle happy hash have
    head heap helper hold hope however ignore immediately implement implementation import improve include increase
    increment indent index individual inherit initial initialise initialize inner input insert inside install
    instance instead int integer interface intermediate invalid item iterate iteration iterator join json key
    keyword lambda length less let letter level library like line linear link list load local log logic loop lower
    main maintain manually map match math matrix maximum mean measure member memory merge message method middle
    minimum missing mode model modify module most multiple multiply name need negative nest new next node none note
    notice number numeric object occur odd one operation operator option order original otherwise outer output
    overall pair palindrome parameter parent parse pass path pattern perform permutation place plain plus point pop
    position positive possible power practice prefix present prevent previous prime print problem process produce
    product program provide purpose push put python query question queue quick quotient raise random range rate raw
    read readability readable real reason receive record recursion recursive reduce refer reference regex regular
    remainder remove repeat repeated replace represent request require requirement reset resource respectively
    result return reverse right robust root round row rule run runtime safe sample save scan score script search
    second section see select sequence server set shape show sign similar simple simplest simply single size skip
    slice small smallest solution solve sort sorted source space special specific specified split square stack
    standard start state statement step stop store straightforward string structure style subset substring subtract
    suffix sum support sure swap symbol syntax system table tail target task temporary term test text thank thanks
    thing think time total track transform traverse tree true try tuple type typical understand unique unit unlike
    update upper usage use used useful user utility valid validate value variable verify version visit walk want
    whitespace word work wrap write wrong zero
"""

COMPUTING = frozenset(_COMPUTING.split())
"""What programming answers are made of, in singular and infinitive."""
