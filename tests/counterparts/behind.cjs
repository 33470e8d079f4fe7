// Puts the clock that a program counts its rate limits by behind the real one while it starts, and
// right after that: a budget of an hour that begins then ends some seconds later, when its header
// says. Dates of what is created are not touched.
const HOUR = 3_600_000;
const budget = Number(process.env.AETHER_TEST_BUDGET_MS || HOUR);
const real = Date.now;
const start = real();
Date.now = () => real() - (real() - start < budget ? HOUR - budget : 0);
