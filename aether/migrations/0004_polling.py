from tortoise import migrations


class Migration(migrations.Migration):
    dependencies = [("aether", "0003_live")]

    operations = []
