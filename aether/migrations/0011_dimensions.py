"""Approximate indexes for the dimensions of common embedding models; 512 has one since 0002."""

from tortoise import migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("aether", "0010_usage")]

    operations = [
        ops.RunSQL(
            [
                f"""CREATE INDEX memory_chunk_embedding_{size} ON memory_chunk
                    USING hnsw ((embedding::halfvec({size})) halfvec_cosine_ops)
                    WHERE embedder LIKE '%:{size}'"""
                for size in (384, 768, 1024, 1536, 3072)
            ]
        )
    ]
