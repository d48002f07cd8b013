"""S3 on the laptop: objects are plain files below the home folder, with an index in SQLite."""
