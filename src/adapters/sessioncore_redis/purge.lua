-- ARGV: before, limit. Returns how many sessions and how many epochs were deleted.
local before, limit = tonumber(ARGV[1]), tonumber(ARGV[2])

local head = redis.call('HGET', KEYS[1], HEAD)
if not head or #head < 20 then
  return {0, 0}
end

local gone, sessions, kept = {}, 0, 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if #field == SLOT_BYTES then
    local until_then = kept_until(redis.call('HGET', KEYS[1], field))
    if until_then and until_then < before and sessions < limit then
      gone[field] = true
      sessions = sessions + 1
    else
      kept = kept + 1
    end
  end
end

if kept == 0 and sessions < limit and struct.unpack('>I6', head, 15) < before then
  redis.call('UNLINK', KEYS[1], KEYS[2])
  return {sessions, 1}
end
drop(gone)
return {sessions, 0}
