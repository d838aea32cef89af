"""Programs that the Pythons of others run; they know the standard library and their own."""
