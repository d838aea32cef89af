"""The site: built by Sphinx from docs/, then checked page by page."""
