from tortoise import migrations


class Migration(migrations.Migration):
    dependencies = [("aether", "0002_postgres")]

    operations = []
