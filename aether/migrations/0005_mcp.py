from tortoise import migrations


class Migration(migrations.Migration):
    dependencies = [("aether", "0004_polling")]

    operations = []
