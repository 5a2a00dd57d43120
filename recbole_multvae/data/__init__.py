"""Reading, splitting and handing out data: RecBole's data sets and loaders, with histories as sparse matrices."""
