-- ARGV: subject, generation to use if there is none, open until, lives for.
-- Returns the current generation, or nil if another subject is here.
local subject, generation, open_until, lives_for = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local head = redis.call('HGET', KEYS[1], HEAD)
if not head then
  if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then
    -- Without a head this belongs to no epoch, and must not join the new one.
    redis.call('UNLINK', KEYS[1], KEYS[2])
  end
  put_epoch(generation, generation .. '\0\0', open_until, subject)
else
  if subject_of(head) ~= subject then
    return nil
  end
  generation = string.sub(head, 1, 6)
  if struct.unpack('>I6', head, 15) < struct.unpack('>I6', open_until) then
    redis.call('HSET', KEYS[1], HEAD, string.sub(head, 1, 14) .. open_until .. string.sub(head, 21))
  end
end
live_on(lives_for)
return generation
