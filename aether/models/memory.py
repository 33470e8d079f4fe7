"""What agents remember: one row a memory, and its text in pieces with their embeddings."""

from tortoise import fields
from tortoise.models import Model

from aether.models.fields import HalfVectorField
from aether.vocabulary import MemoryScope


class Memory(Model):
    """One thing remembered, by key. ``key_space`` is empty for what people store."""

    id = fields.BigIntField(primary_key=True)
    key_space = fields.CharField(200, default="")  # "agent:<id>:<project>" for what an agent stores
    key = fields.CharField(200)
    content = fields.TextField()
    scope = fields.CharEnumField(MemoryScope, max_length=16)
    agent_id = fields.CharField(64, null=True)
    project_id = fields.IntField(null=True)
    execution_id = fields.BigIntField(null=True)  # the run that stored it
    expires_at = fields.DatetimeField(null=True)  # hidden from then on, also before it is pruned
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "memory"  # tsv column, its index and the partial ones: first migration
        unique_together = [("key_space", "key")]
        indexes = [
            ("project_id", "agent_id", "scope"),
            ("agent_id", "id"),
            ("scope", "id"),
        ]
        ordering = ["id"]


class MemoryChunk(Model):
    """A piece of a memory's text and its embedding, by one named embedder."""

    id = fields.BigIntField(primary_key=True)
    memory: fields.ForeignKeyRelation[Memory] = fields.ForeignKeyField(
        "aether.Memory", related_name="chunks", on_delete=fields.CASCADE
    )
    position = fields.IntField()
    content = fields.TextField()
    embedder = fields.CharField(200, null=True)  # name and dimension: "use-multilingual-3:512"
    embedding = HalfVectorField(null=True)

    class Meta:
        table = "memory_chunk"
        unique_together = [("memory", "position")]
