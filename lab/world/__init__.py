"""The demo's world: what it shows, in which words, and the data sets that are drawn of it."""
