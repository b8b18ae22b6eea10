"""How the leak works: where the actor's gradient goes, which layers grow, when the policy saturates."""

from lnlab.report import driving_figures, output
from lnlab.report.cells import counted
from lnlab.report.d5 import shown
from lnlab.report.driving_data import MAIN, Driving
from lnlab.report.driving_figures import Panel
from lnlab.report.evidence import Data

PATHS = (
    Panel("actor_cnn_grad_norm", "actor's gradient in its CNN", log=True),
    Panel("actor_mlp_grad_norm", "actor's gradient in its own layers", log=True),
    Panel("pretanh", "mean |action before the tanh|", log=True),
    Panel("saturation", "share of actions beyond ±0.99"),
)
LAYERS = (
    Panel("actor_conv1_rms", "first convolution", log=True),
    Panel("actor_conv2_rms", "second convolution", log=True),
    Panel("actor_conv3_rms", "third convolution", log=True),
    Panel("actor_feature_norm_probe", "features (L2 norm)", log=True),
)


@shown
def paths(data: Data) -> output.FigureOutput:
    """The two ways by which the actor's loss can fall: through the action, or through the features."""
    says = (
        "Norms before clipping of the actor's gradient in its CNN and in the layers that choose the action, the size "
        "of the action before its tanh, and the share of saturated actions, at one update in a hundred."
    )
    return _figure(data, "paths", PATHS, says, "actor_mlp_grad_norm", "Gradient in the actor's own layers")


@shown
def layers(data: Data) -> output.FigureOutput:
    """Every layer of the actor's CNN on fixed observations: four linear layers that grow multiply."""
    says = (
        "Layers of the actor's CNN on 64 fixed observations: root mean square of the activations, which does not "
        "depend on a layer's size or on the batch, and the norm of the features."
    )
    return _figure(data, "layers", LAYERS, says, "actor_conv1_rms", "First convolution")


def _figure(
    data: Data, name: str, panels: tuple[Panel, ...], says: str, told: str, subject: str
) -> output.FigureOutput:
    runs = Driving.of(data)
    arms = runs.arms(MAIN)
    rows = driving_figures.bands(runs, arms, panels)
    last = rows[rows.quantity == told].groupby("arm", sort=False).tail(1)
    ends = "; ".join(f"{row.arm} {row.mean:.2g}" for row in last.itertuples())
    caption = (
        f"{says} Seeds thin, means thick (geometric on logarithmic axes), pointwise 95 % intervals shaded; "
        f"n = {counted(rows.n)} seeds an arm."
    )
    alt = f"Four panels over updates, the four arms in each. {subject} at the last record: {ends}."
    return output.figure(name, driving_figures.grid(runs, arms, panels), alt=alt, caption=caption, data=rows)
