"""How values of declared types cross as JSON."""
