-- Entries of calls that may be retried. KEYS: its entry, and the number of errors sent to identical calls.
--   "put" entry ttl_ms    store the entry
--   "drop"                delete it
--   "get"                 -> the entry, or nil
--   "refused" ttl_ms      count an error that the client's library answers with a retry
--   "find"                -> {entry or nil, 1 if a counted error explains the retry, else 0}
-- The second byte of an entry is "1" once its client has disconnected. Such a call explains the retry itself.

local operation = ARGV[1]

if operation == 'put' then
  return redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
elseif operation == 'drop' then
  return redis.call('DEL', KEYS[1])
elseif operation == 'get' then
  return redis.call('GET', KEYS[1])
elseif operation == 'refused' then
  redis.call('INCR', KEYS[2])
  return redis.call('PEXPIRE', KEYS[2], ARGV[2])
end

local entry = redis.call('GET', KEYS[1])
if entry and string.sub(entry, 2, 2) == '1' then
  return {entry, 0}
end
if tonumber(redis.call('GET', KEYS[2]) or '0') > 0 then
  redis.call('DECR', KEYS[2])
  return {entry, 1}
end
return {entry, 0}
