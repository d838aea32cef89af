"""Every reader of files, names and answers from elsewhere, against damaged and made-up content."""
