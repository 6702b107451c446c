"""What a text is like: labels by classifiers of one protocol, control tokens made of them, and rows that carry both."""
