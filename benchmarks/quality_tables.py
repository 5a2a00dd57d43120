"""The tables of quality.py: their models, their protocols, and the figures that others published.

Each protocol is a shipped configuration (properties/dataset). This file holds no figures of this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        model: its name.
        keys: ``key=value`` of the row, separated by spaces.
        files: shipped configurations that are read after the table's.
        script: the file of this folder that trains it; empty for a row of the leaderboard.
    """

    model: str
    keys: str = ""
    files: tuple[str, ...] = ()
    script: str = ""


class Table(NamedTuple):
    """One table.

    Attributes:
        title: the contents, and the source of the published figures.
        dataset: the name of the data set.
        files: shipped configurations for all rows.
        metrics: the names of test metrics in RecBole's results, and the headings of their columns.
        rows: by name.
        published: figures of others, by model, in the order of the metrics; None where there is none.
        keys: ``key=value`` for all rows, separated by spaces.
        large: whether the data are too large to be on every machine; the table is only described where they are missing.
    """

    title: str
    dataset: str
    files: tuple[str, ...]
    metrics: dict[str, str]
    rows: dict[str, Row]
    published: Mapping[str, tuple[float | None, ...]] = MappingProxyType({})
    keys: str = ""
    large: bool = False


PAPER_METRICS = {"cappedrecall@20": "Recall@20", "cappedrecall@50": "Recall@50", "ndcg@100": "NDCG@100"}
TOP_10 = {"recall@10": "Recall@10", "mrr@10": "MRR@10", "ndcg@10": "NDCG@10", "hit@10": "Hit@10", "precision@10": "P@10"}

SLIDES = Table(
    "Weak generalization, ML-1M, records 60/20/20; published: J. Liu and W. Pan, slides on Mult-VAE",
    "ml-1m",
    ("ml-1m-weak",),
    {"precision@5": "P@5", "recall@5": "R@5", "ndcg@5": "NDCG@5", "mrr@5": "MRR@5"},
    {
        "MultVAE, the slides' settings": Row(  # One layer of 200: that of z. So no activation is between layers.
            "MultVAE",
            "mlp_hidden_size=[] hid_activation=none train_batch_size=100 epochs=1000 stopping_step=50",
            ("paper",),
        ),
        "MultVAE": Row("MultVAE"),
        "MultVAE, gaussian": Row("MultVAE", files=("gaussian",)),
        "AutoRec": Row("AutoRec", "epochs=1000 stopping_step=50"),
        "EDLAE": Row("EDLAE"),
        "EASE (RecBole), lambda 1000": Row("EASE", "reg_weight=1000"),
    },
    {"AutoRec": (0.2707, 0.0724, 0.2807, 0.4715), "Mult-VAE": (0.2718, 0.0771, 0.2819, 0.4747)},
)

LEADERBOARD = Table(
    "RecBole's leaderboard, ML-1M; published: https://recbole.io/results/general_recommendation.html",
    "ml-1m",
    ("ml-1m-leaderboard",),
    TOP_10,
    {
        "MultVAE": Row("MultVAE"),
        "MultVAE, gaussian": Row("MultVAE", files=("gaussian",)),
        "MultDAE": Row("MultDAE"),
        "MultVAE, the paper's settings": Row("MultVAE", files=("paper",)),
        "MultiVAE (RecBole), learning rate .007": Row("MultiVAE", "learning_rate=0.007"),
        "MultiVAE (RecBole)": Row("MultiVAE"),
        "EDLAE": Row("EDLAE"),
        "EASE (RecBole)": Row("EASE"),
    },
    {
        "MultiVAE, learning rate .007": (0.1995, 0.4292, 0.2523, 0.7650, 0.1839),
        "RecVAE": (0.2163, 0.4632, 0.2795, 0.7877, 0.2033),
        "EASE": (0.2139, 0.4808, 0.2865, 0.7837, 0.2082),
        "LightGCN": (0.1823, 0.4312, 0.2478, None, None),
        "SimpleX": (0.1997, 0.4668, 0.2700, None, None),
        "NCL": (0.2003, 0.4587, 0.2679, None, None),
    },
)

#: The notebook's epochs for MovieLens-20M, all of them; the best by validation is kept.
ALL_EPOCHS = "epochs=200 stopping_step=200"
STRONG = Table(
    "Strong generalization, the paper's protocol, ML-1M: nothing is published; a public implementation on the same split",
    "ml-1m",
    ("ml-1m-strong",),
    PAPER_METRICS,
    {
        "MultVAE, the paper's settings": Row("MultVAE", ALL_EPOCHS, ("paper",)),
        "younggyoseo/vae-cf-pytorch, the same settings": Row("MultVAE", ALL_EPOCHS, ("paper",), "vae_cf.py"),
        "MultVAE": Row("MultVAE"),
        "MultVAE, gaussian": Row("MultVAE", files=("gaussian",)),
        "MultDAE": Row("MultDAE"),
        "EDLAE": Row("EDLAE"),
        "EASE (RecBole), lambda 400": Row("EASE", "reg_weight=400"),
    },
)

GOWALLA = Table(
    "Gowalla, LightGCN's split; published: He et al., SIGIR 2020",
    "gowalla",
    ("gowalla-lightgcn",),
    {"recall@20": "Recall@20", "ndcg@20": "NDCG@20"},
    {"MultVAE": Row("MultVAE")},
    {"Mult-VAE": (0.1641, 0.1335), "LightGCN": (0.1830, 0.1554)},
)

#: The training of the configuration ``paper`` for MultDAE, which has no beta and by default the paper's network.
PAPER_TRAINING = "train_batch_size=500 learning_rate=0.001 eval_step=1 ema_decay=0"
LIKELIHOODS = Table(
    "Likelihoods under the paper's protocol, ML-1M; published: Liang et al., WWW 2018, on ML-20M",
    "ml-1m",
    ("ml-1m-strong",),
    PAPER_METRICS,
    {
        f"{row.model}, {likelihood}": row._replace(keys=f"likelihood={likelihood} {row.keys}")
        for row in (Row("MultVAE", ALL_EPOCHS, ("paper",)), Row("MultDAE", f"{PAPER_TRAINING} {ALL_EPOCHS}"))
        for likelihood in ("multinomial", "gaussian", "logistic")
    },
    {
        "Mult-VAE on ML-20M, multinomial": (0.395, 0.537, 0.426),
        "Mult-VAE on ML-20M, Gaussian": (0.383, 0.523, 0.415),
        "Mult-VAE on ML-20M, logistic": (0.388, None, 0.419),
    },
)


def large(dataset: str, title: str, *published: tuple[float, float, float]) -> Table:
    """A table of the paper's own data, with the published figures of Mult-VAE, Mult-DAE, EASE and RecVAE."""
    rows = {"MultVAE": Row("MultVAE"), "MultDAE": Row("MultDAE")}
    title = f"Strong generalization, {title}; published: Liang et al., WWW 2018, and the papers of EASE and RecVAE"
    figures = dict(zip(("Mult-VAE", "Mult-DAE", "EASE", "RecVAE"), published, strict=True))
    return Table(title, dataset, (dataset,), PAPER_METRICS, rows, figures, large=True)


ML_20M = large(
    "ml-20m", "ML-20M", (0.395, 0.537, 0.426), (0.387, 0.524, 0.419), (0.391, 0.521, 0.420), (0.414, 0.553, 0.442)
)
NETFLIX = large(
    "netflix", "Netflix", (0.351, 0.444, 0.386), (0.344, 0.438, 0.380), (0.362, 0.445, 0.393), (0.361, 0.452, 0.394)
)
MSD = large("msd", "MSD", (0.266, 0.364, 0.316), (0.266, 0.363, 0.313), (0.333, 0.428, 0.389), (0.276, 0.374, 0.326))

NETWORKS = {"I-600-200-600-I": "[600]", "I-200-I": "[]"}
#: RecBole's model and objective, but for its noise, with our evaluation.
SAME = "decoder_hidden_size=mirrored precision=fp32 latent_dimension=200 ema_decay=0 eval_step=1"
PAPER_BETA = "anneal_cap=0.2 total_anneal_steps=200000"
SAME_VAE = f"{SAME} kl_weighting=equal {PAPER_BETA}"
SIZES = Table(
    "The same networks, batches and early stopping for all, ml-100k",
    "ml-100k",
    (),
    TOP_10,
    {
        f"{network}, {name}": Row(row.model, f"mlp_hidden_size={hidden} {row.keys}")
        for network, hidden in NETWORKS.items()
        for name, row in {
            "MultVAE": Row("MultVAE", SAME_VAE),
            "MultDAE": Row("MultDAE", SAME),
            # Its latent_dimension counts mu and log-variance together.
            "MultiVAE (RecBole)": Row("MultiVAE", f"latent_dimension=400 {PAPER_BETA}"),
        }.items()
    },
    keys="train_batch_size=500 learning_rate=0.001 dropout_prob=0.5 epochs=400 stopping_step=20 valid_metric=NDCG@10",
)

PRECISION = SIZES._replace(
    title="Products in bf16, ml-100k",
    rows={
        f"{network}, {precision}": Row(
            "MultVAE", f"{SAME_VAE} mlp_hidden_size={hidden} precision={precision}", script=script
        )
        for network, hidden in NETWORKS.items()
        for precision, script in (("fp32", ""), ("bf16", "rounded_run.py"))
    },
)
SAMPLED = Table(
    "Sampled softmax, Gowalla, LightGCN's split, 40,981 items",
    "gowalla",
    ("gowalla-lightgcn",),
    {"ndcg@10": "NDCG@10", "recall@20": "Recall@20", "ndcg@20": "NDCG@20"},
    {
        "exact": Row("MultVAE"),
        **{f"{size:,} items": Row("MultVAE", f"sampled_softmax={size}") for size in (500, 2000, 4000, 8000)},
        "4,000 items, lazy Adam": Row("MultVAE", "sampled_softmax=4000 learner=sparse_adam"),
    },
    keys="topk=[10,20]",
)

TABLES = {
    "slides": SLIDES,
    "leaderboard": LEADERBOARD,
    "strong": STRONG,
    "gowalla": GOWALLA,
    "likelihoods": LIKELIHOODS,
    "ml-20m": ML_20M,
    "netflix": NETFLIX,
    "msd": MSD,
    "sizes": SIZES,
    "precision": PRECISION,
    "sampled": SAMPLED,
}
