"""Items without clicks: rows for them in the tables of a trained model, from what RecBole's ``.item`` file says of them.

:mod:`.item_file` reads the file, :mod:`.encoding` makes numbers of its fields, and :mod:`.regression` learns from the
trained items how rows follow from these numbers; :mod:`.pairs` does it for a sparse matrix of pairs. Source: Gantner et al.,
"Learning Attribute-to-Feature Mappings for Cold-Start Recommendations", ICDM 2010.
"""
