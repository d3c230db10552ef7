"""What is learned from the cases of a run: models of its outputs, where they fail, and which cases tell most next."""
