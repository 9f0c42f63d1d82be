"""Modules as people write them, small: what cutting has to cope with."""

import torch
import torch.nn.functional as F
from torch import nn

SHAPE = (3, 16, 16)
CLASSES = 5


class BasicBlock(nn.Module):
    """One activation that is called twice, and works in place, as in many a ResNet."""

    def __init__(self, before, channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or before != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        return self.relu(out)


class SmallResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 8))
        self.layer2 = nn.Sequential(BasicBlock(8, 12, 2), BasicBlock(12, 12))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(12, CLASSES)
        self.unused = nn.Linear(12, CLASSES)

    def forward(self, x):
        x = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class SmallVGG(nn.Module):
    """Layers in a row that work in place, and a classifier of several."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(8 * 16, 10), nn.ReLU(True), nn.Dropout(), nn.Linear(10, CLASSES)
        )

    def forward(self, x):
        x = self.features(x)
        return self.classifier(x.view(x.size(0), -1))


class SmallDenseNet(nn.Module):
    """Every layer reads all before it: nowhere to be cut inside a block."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nn.Conv2d(8, 4, 3, padding=1)
        self.transition = nn.Sequential(nn.Conv2d(12, 6, 1), nn.AvgPool2d(2))
        self.last = nn.Conv2d(6, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        maps = [F.relu(self.stem(x))]
        for layer in (self.first, self.second):
            maps.append(F.relu(layer(torch.cat(maps, 1))))
        x = F.relu(self.norm(self.last(self.transition(torch.cat(maps, 1)))))
        return self.fc(x.mean([2, 3]))


class SmallMobileNetV3(nn.Module):
    """Squeeze and excitation, hard activations, and a classifier of convolutions."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish())
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.squeeze = nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1))
        self.last = nn.Sequential(nn.Conv2d(8, 12, 1), nn.Hardswish())
        self.classifier = nn.Linear(12, CLASSES)

    def forward(self, x):
        x = self.depthwise(self.stem(x))
        x = x * F.hardsigmoid(self.squeeze(F.adaptive_avg_pool2d(x, 1)))
        x = self.last(x)
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


class ClassTokenAttention(nn.Module):
    """With sizes that are asked of the tensor, and attention in one call."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.drop = 0.0

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.drop if self.training else 0.0)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, width))


class ClassTokenBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = ClassTokenAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SmallViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 12, 4, 4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 12))
        self.pos_embed = nn.Parameter(torch.randn(1, 17, 12))
        self.blocks = nn.Sequential(*(ClassTokenBlock(12, 2) for _ in range(3)))
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class Encoder(nn.Module):
    """Torch's own attention, which has a fast path in evaluation."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.layers = nn.Sequential(
            *(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True) for _ in range(2))
        )
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.fc(self.layers(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class Perceptron(nn.Module):
    """Vectors from the first layer on."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * 256, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU()
        )
        self.out = nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.out(self.layers(x))


class Gate(nn.Module):
    """Decides by values."""

    def forward(self, x):
        return x if x.mean() > 0 else -x


class DropPath(nn.Module):
    """Leaves a sample out in training, as networks with many blocks do."""

    def forward(self, x):
        if not self.training:
            return x
        return x * (torch.rand_like(x[:, :1, :1, :1]) < 0.9)


def row(*layers):
    """Layers in a row, then average pool and linear layer; for `Gate` and the like."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1),
        nn.ReLU(),
        *layers,
        nn.Conv2d(4, 6, 3, 1, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, CLASSES),
    )


# Name -> (what makes it, exits that it may have, the kind of head that fits there, the final exit).
MODULES = {
    "resnet": (SmallResNet, ("relu", "layer1", "layer2.0"), "fused", "PooledHead"),
    "resnet, before activations": (SmallResNet, ("bn1", "layer1.0"), "fused", "PooledHead"),
    "vgg": (SmallVGG, ("features.0", "features.3", "features.4"), "mixed", "Tail"),
    "densenet": (SmallDenseNet, ("stem", "transition", "last"), "pooled", "PooledHead"),
    "mobilenet v3": (SmallMobileNetV3, ("stem.0", "depthwise"), "convolutional", "Tail"),
    "vit": (SmallViT, ("blocks.0", "blocks.1"), "class_token", "Tail"),
    "encoder": (Encoder, ("layers.0",), "token_mean", "Tail"),
    "perceptron": (Perceptron, ("layers.1", "layers.3"), "linear", "Tail"),
}


def made(name):
    """(module with batch-norm statistics of its own, exits, head, final exit), always the same."""
    make, exits, head, final = MODULES[name]
    torch.manual_seed(0)
    module = make()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    return module.eval(), exits, head, final
