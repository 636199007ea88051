-- ARGV: generation, slot, old stamp, new stamp, lives for, pieces of the record.
-- Returns whether the new record is what is stored.
local generation, slot, old, new, lives_for = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local stored = head_of(generation) and stamp_of(redis.call('HGET', KEYS[1], slot))
if stored == new then
  return 1
end
if stored ~= old then
  return 0
end
put_record(slot, 6)
live_on(lives_for)
return 1
