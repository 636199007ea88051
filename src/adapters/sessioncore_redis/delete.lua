-- ARGV: generation, slot, expected stamp or empty. Returns how many were deleted.
local generation, slot, expected = ARGV[1], ARGV[2], ARGV[3]

local record = head_of(generation) and redis.call('HGET', KEYS[1], slot)
if not record or (expected ~= '' and stamp_of(record) ~= expected) then
  return 0
end
drop({[slot] = true})
return 1
