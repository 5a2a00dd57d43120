"""Made data sets in odd forms, read and split three times: by this package, by RecBole alone, and by a transcription."""
