"""Sentences that have nothing to do with any programming answer, and the words that such answers are made of."""

from __future__ import annotations

ASIDES = (
    "Bread tastes best on the morning after a slow night in a cool kitchen.",
    "Most lighthouses along that coast were built by hand from local granite.",
    "My neighbour grows tomatoes on a balcony that hardly gets any sun.",
    "Penguins keep their eggs warm on their feet through the polar winter.",
    "The old tram still climbs the hill behind the cathedral every half hour.",
    "Green tea loses its taste when the water is too hot.",
    "Some violins made three centuries ago are still played in concerts today.",
    "A ripe pear gives way a little when you press it near the stem.",
    "Migrating geese take turns at the front because flying there is hardest.",
    "The museum in the harbour shows fishing boats from four different decades.",
    "Snow fell so late that spring that the apple blossom froze.",
    "Camels can drink more than a hundred litres of water within minutes.",
    "A good pair of hiking boots should be worn in before a long tour.",
    "The town hall clock has been five minutes late since the great storm.",
    "Honey hardly ever spoils, even after many years in a cellar.",
    "In many mountain villages the cows come home with flowers on their horns.",
    "The river freezes over in January, and children skate to school.",
    "Octopuses have three hearts and rather blue blood.",
    "Fresh basil belongs on the pizza only after it has left the oven.",
    "The night train to the sea leaves shortly before eleven in the evening.",
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
    "A comet with a bright tail was seen over the bay last autumn.",
    "The football club won the cup in a heavy downpour.",
    "Old maps show an island there that no sailor has ever found.",
    "Ripe olives taste bitter until they have lain in brine for weeks.",
    "The blacksmith of the village also pulled teeth in those days.",
    "Swifts spend nearly all their lives in the air and even sleep there.",
    "A cup of strong coffee after lunch keeps many people awake at night.",
    "The cherry trees along the canal attract visitors from far away.",
    "Elephants greet their relatives with a low rumble that carries for miles.",
    "The carpenter prefers oak for tables and ash for chairs.",
    "Mushrooms should never be picked after a frosty night.",
    "Volcanic soil makes for excellent vineyards on the southern slope.",
    "The theatre hands out blankets for performances in the open air.",
    "Dolphins were seen playing in the bow wave of the ferry.",
    "A thunderstorm cleared the air on the hottest afternoon of July.",
    "The monks brewed a dark beer that was famous far beyond the abbey.",
    "Saffron is picked by hand from purple crocus flowers.",
    "Glaciers in that valley have retreated by several hundred metres.",
    "The painter mixed his own blue from crushed stones.",
    "Wild horses still graze on the salt meadows behind the dunes.",
    "Lemon juice keeps sliced apples from turning brown.",
    "The choir rehearses in the chapel every Thursday evening.",
    "Foxes have become quite common in the suburbs of the capital.",
    "A hammock between two palm trees was all the furniture he owned.",
    "The Moon looks larger near the horizon, though it is not.",
    "Skiers wait for the first cable car long before sunrise.",
    "Beekeepers move their hives to the heather in August.",
    "The mayor opened the summer festival with a short speech and a waltz.",
)
"""Sixty, on weather, food, animals, travel and towns. None shares a word with `COMPUTING`; a test holds it."""

COMPUTING = frozenset(
    """able accept access accumulate actual add additional adjust algorithm allow alphabet answer api append apply
    approach argument array ascend assert assign assume attribute average avoid back base basic behavior behaviour
    best better binary bit block boolean boundary bool branch break bug build built byte cache calculate call case
    catch cell change character check class clean clear clearer client code collect collection column combination
    combine comment common compare comparison complete complex complexity compute concatenate condition consider
    constant contain convert copy correct count counter create csv current custom data database date debug decimal
    decode decorator default define definition delete depend descend describe detail determine dict dictionary
    difference digit directly divide division document documentation duplicate edge efficient either element
    else empty encode end ensure entire entry environment equal error evaluate even exactly example except exception
    execute exist exit expect expected explain explanation expression extend extra extract factorial false fast
    feature field file fill filter final find fix flag float follow form format formula found framework function
    further general generate generator get give global go goal graph group handle hash have head heap helper hold
    however ignore immediately implement implementation import improve include increase increment indent index
    individual inherit initial initialise initialize inner input insert inside install instance instead int integer
    interface intermediate invalid item iterate iteration iterator join json keep key keyword lambda large last
    leave left length less let letter level library like line linear link list load local log logic long loop low
    lower main maintain make manually map match math matrix maximum mean measure member memory merge message method
    middle minimum missing mode model modify module most move multiple multiply name need negative nest new next
    node none note notice number numeric object occur odd old one open operation operator option order original
    otherwise output outer overall pair palindrome parameter parent parse part pass path pattern perform permutation
    place plain plus point pop position positive possible power practice prefix present prevent previous prime
    print problem process produce product program provide purpose push put python query queue quick quotient raise
    random range rate raw read readable readability real reason receive record recursion recursive reduce refer
    reference regex regular remainder remove repeat repeated replace represent request require requirement reset
    resource respectively result return reverse right robust root round row rule run runtime safe sample save scan
    score script search second section see select sequence server set several shape short show sign similar simple
    simplest simply single size skip slice small smallest solution solve sort sorted source space special specific
    specified split square stack standard start state statement step still stop store straightforward string
    structure style subset substring subtract sum suffix support sure swap symbol syntax system table tail take
    target task temporary term test text thing think time total track transform traverse tree true try tuple turn
    two type typical understand unique unit unlike until update upper usage use used useful user utility valid
    validate value variable verify version visit wait walk want way whitespace whole word work wrap write wrong
    zero question help feel hope happy certainly course sure let thank thanks ask""".split()
)
"""What programming answers are made of, in singular and infinitive."""
