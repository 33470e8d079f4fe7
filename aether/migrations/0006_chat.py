from tortoise import migrations


class Migration(migrations.Migration):
    dependencies = [("aether", "0005_mcp")]

    operations = []
