"""How the embedded tiny networks are made: one file per family of parts, objective and samples."""
