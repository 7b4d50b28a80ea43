"""A training step by lightning."""

import pytest
import timm
import torch

lightning = pytest.importorskip("lightning", reason="needs lightning (requirements/clients.txt)")

import maxvit_dense  # noqa: E402, F401  registers the timm names


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = timm.create_model("maxvit_mini", num_classes=3)
        self.losses = []

    def training_step(self, batch, _):
        images, labels = batch
        loss = torch.nn.functional.cross_entropy(self.network(images), labels)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-3)


@pytest.mark.filterwarnings("ignore")
def test_it_trains(tmp_path):
    data = [(torch.randn(3, 40, 56), i % 3) for i in range(4)]
    module = Module()
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=2))
    assert len(module.losses) == 4 and all(loss == loss for loss in module.losses)
