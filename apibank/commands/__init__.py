"""The commands, one file per subject. Each reads its options and calls one function elsewhere."""
