-- What wrk asks: accounts at random, so that every request has another path and another parameter.
-- At the end one line that the bench reads: requests, errors, and latency in microseconds.

local accounts = tonumber(os.getenv("BENCH_ACCOUNTS"))

function init(_)
  math.randomseed(1)
end

function request()
  return wrk.format("GET", "/accounts/" .. math.random(1, accounts))
end

function done(summary, latency, _)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    "result requests=%d failed=%d duration_us=%d p50_us=%d p99_us=%d\n",
    summary.requests, failed, summary.duration, latency:percentile(50), latency:percentile(99)
  ))
end
