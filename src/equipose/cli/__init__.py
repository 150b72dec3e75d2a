"""The command line: one file per verb, each a thin wrapper around a public function."""
