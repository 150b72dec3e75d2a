"""Building blocks that several networks share."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

FAR_BELOW = -1e9
"""Added to the attention logit of a masked key; finite, so that a row without any key keeps finite gradients."""


class SelfAttention(nn.Module):
    """Multi-head self-attention over a set or sequence of tokens.

    Written out, because the fused CPU kernel has no batching rule for ``torch.func.vmap``; with the few tokens that
    there are, it is not faster either.

    Args:
        channels: length of a token.
        heads: number of heads; divides ``channels``.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(
        self, tokens: Float[Tensor, "batch token channel"], mask: Bool[Tensor, "batch token"] | None = None
    ) -> Float[Tensor, "batch token channel"]:
        """Attend to the tokens where ``mask`` is True (everywhere without a mask)."""
        batch, count, channels = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if mask is not None:
            logits = torch.where(mask[:, None, None, :], logits, FAR_BELOW)
        mixed = logits.softmax(-1) @ value
        return self.out(mixed.transpose(1, 2).reshape(batch, count, channels))


class TransformerBlock(nn.Module):
    """Pre-norm transformer block: attention, then a two-layer perceptron, each with a residual.

    Args:
        channels: length of a token.
        heads: number of attention heads.
        expansion: hidden width of the perceptron over ``channels``.
    """

    def __init__(self, channels: int, heads: int, expansion: int = 2) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = SelfAttention(channels, heads)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, expansion * channels), nn.ReLU(), nn.Linear(expansion * channels, channels)
        )

    def forward(
        self, tokens: Float[Tensor, "batch token channel"], mask: Bool[Tensor, "batch token"] | None = None
    ) -> Float[Tensor, "batch token channel"]:
        """Tokens in, tokens out; masked tokens are attended to by none."""
        tokens = tokens + self.attention(self.attention_norm(tokens), mask)
        return tokens + self.mlp(self.mlp_norm(tokens))


def masked_mean(
    tokens: Float[Tensor, "batch token channel"], mask: Bool[Tensor, "batch token"]
) -> Float[Tensor, "batch channel"]:
    """Mean over the tokens in the mask; zero where there are none."""
    weight = mask.to(tokens.dtype)[..., None]
    return (torch.where(mask[..., None], tokens, 0.0)).sum(1) / weight.sum(1).clamp_min(1.0)


def masked_max(
    tokens: Float[Tensor, "batch token channel"], mask: Bool[Tensor, "batch token"]
) -> Float[Tensor, "batch channel"]:
    """Maximum over the tokens in the mask; zero where there are none."""
    largest = torch.where(mask[..., None], tokens, FAR_BELOW).amax(1)
    return torch.where(mask.any(1)[:, None], largest, 0.0)
