# One image for web, worker and scheduler; which of them it is, its command says.
FROM python:3.12-slim-bookworm

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/aether

COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock

COPY pyproject.toml README.md ./
COPY aether aether
COPY schema schema
COPY resolvers resolvers
COPY rest_compat rest_compat
COPY seeding seeding
RUN pip install --no-cache-dir --no-deps . \
    && useradd --system --create-home --home-dir /var/lib/aether aether

USER aether
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD \
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
CMD ["aether", "web"]
