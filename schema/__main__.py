"""``python -m schema`` writes the printed schema to ``schema/schema.graphql``."""

import schema

schema.SDL_PATH.write_text(schema.print_sdl(), encoding="utf-8")
