-- ARGV: subject. Returns how many sessions were deleted; -1 if another subject
-- is here. A head that is too short to name anyone protects nobody.
local head = redis.call('HGET', KEYS[1], HEAD)
if head and #head > 20 and subject_of(head) ~= ARGV[1] then
  return -1
end
local sessions = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if #field == SLOT_BYTES then
    sessions = sessions + 1
  end
end
redis.call('UNLINK', KEYS[1], KEYS[2])
return sessions
