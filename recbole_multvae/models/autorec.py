r"""AutoRec (Sedhain, Menon, Sanner, Xie, "AutoRec: Autoencoders Meet Collaborative Filtering", WWW 2015), user-based.

.. math:: \min_\theta \sum_u \lVert r_u - h(r_u; \theta) \rVert^2_{\mathcal O}
    + \frac{\lambda}{2} (\lVert W \rVert_F^2 + \lVert V \rVert_F^2), \quad h(r; \theta) = W g(V r + \mu) + b \quad (1, 2)

With ``targets: ratings`` r_u holds the user's ratings, and the error is summed over the rated items, as in the paper. With
``targets: clicks`` all observed entries are 1, and a model that predicts 1 everywhere would have no error. The error is then
summed over all items, with r_ui = 0 where the user did not click.

The loss is the mean over the users of a batch, not the sum, and lambda is divided by ``train_batch_size`` accordingly.
"""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from recbole_multvae.clicks import Clicks
from recbole_multvae.config.settings import RecommenderSettings, setting
from recbole_multvae.errors import ConfigurationError, DataError
from recbole_multvae.layers import ACTIVATIONS, SparseEncoder, mlp
from recbole_multvae.likelihoods.base import LikelihoodSettings
from recbole_multvae.likelihoods.gaussian import Gaussian, GaussianSettings
from recbole_multvae.models.auto_encoder import ClickAutoEncoder


class AutoRecSettings(LikelihoodSettings, RecommenderSettings):
    """The settings of :class:`AutoRec`."""

    latent_dimension: int = setting(200, "a positive integer", "units of the hidden layer", gt=0)
    hid_activation: Literal["tanh", "relu", "sigmoid", "none"] = setting(
        "sigmoid", "tanh, relu, sigmoid or none", "activation g of the hidden layer; none: the identity"
    )
    reg_weight: float = setting(
        5.0,
        "a number, 0 or more",
        "lambda of the L2 penalty: lambda/2 times the squared weights, divided by train_batch_size",
        ge=0,
    )
    targets: Literal["clicks", "ratings"] = setting(
        "clicks",
        "clicks or ratings",
        "clicks: squared error of all items, 1 or 0; ratings: squared error of the ratings in the column RATING_FIELD",
    )


class AutoRec(ClickAutoEncoder):
    """U-AutoRec: layers I-K-I with a sigmoid between them, squared error, L2 penalty."""

    settings_class = AutoRecSettings
    input_scaling = "none"

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        if self.settings.targets == "ratings":
            self.input_scaling = "ratings"
            sums = self.training_matrix(dataset, rating_field(config, dataset))
            # The mean, where a user rated an item several times.
            self.training_clicks.set_values(sums.data / self.training_matrix(dataset).data)
        size = self.training_clicks.n_columns - (self.n_items - 1 - self.n_trained)
        latent, self.latent_activation = self.settings.latent_dimension, self.settings.hid_activation
        self.encoder = SparseEncoder([size, latent], dropout=0, sparse=self.sparse, normalise=False)
        self.activation = ACTIVATIONS[self.latent_activation]()
        self.decoder = mlp([latent, size])
        self.add_cold_items()
        self.l2 = self.settings.reg_weight / 2 / config["train_batch_size"]

    @classmethod
    @override
    def no_histories_because(cls, settings: Any) -> str | None:
        return "targets='ratings' reads ratings, which clicks do not have" if settings.targets == "ratings" else None

    def make_likelihood(self) -> Gaussian:
        """The squared error of every entry: c1 = c0 = 2 in c/2 (x - f)^2."""
        keys = {name: getattr(self.settings, name) for name in LikelihoodSettings.model_fields}
        return Gaussian(GaussianSettings(confidence_c1=2.0, confidence_c0=2.0, **keys), self.dtype, self.sparse)

    def encode(self, clicks: Clicks) -> Tensor:
        """g(V r + mu), [B, K], of clicks, or of ratings in their values.

        Raises:
            DataError: the model reads ratings, and there are none.
        """
        if clicks.values is None and self.settings.targets == "ratings":
            raise DataError(
                f"{type(self).__name__} with targets=ratings reads ratings, and a history of items has none: train it with "
                "targets=clicks."
            )
        return self.activation(self.encoder(clicks, self.generator))

    def loss(self, clicks: Clicks, target: Clicks) -> Tensor:
        """The squared error, the mean over the rows of the batch, and the L2 penalty of the weights."""
        z = self.encode(clicks)
        output: Any = self.decoder[-1]
        rated = self.settings.targets == "ratings"
        error = observed_error(z, output, target) if rated else self.negative_log_likelihood(z, target)
        if not self.l2:
            return error
        return error + self.l2 * (self.encoder.first.weight.square().sum() + output.weight.square().sum())


def observed_error(z: Tensor, output: Any, ratings: Clicks) -> Tensor:
    """The squared error of the observed entries only: the sum over a row, the mean over rows.

    Args:
        z: [B, K].
        output: the last layer, weight [I, K].
        ratings: the observed entries.
    """
    predicted = (z[ratings.rows] * F.embedding(ratings.columns, output.weight)).sum(dim=1) + output.bias[ratings.columns]
    return (ratings.nonzeros - predicted).square().sum() / len(z)


def rating_field(config: Any, dataset: Any) -> str:
    """The name of the column of ratings.

    Raises:
        ConfigurationError: the column is not loaded.
    """
    field: str = config["RATING_FIELD"]
    if field not in dataset.inter_feat:
        raise ConfigurationError(
            f"targets='ratings' reads the column {field}, which is not loaded: name the column of ratings with "
            "RATING_FIELD, and load it with load_col."
        )
    return field
