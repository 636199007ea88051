-- What every script starts with. KEYS[1] is the subject's epoch with its sessions,
-- KEYS[2] their data; both are in one slot.
--
-- Scripts read no clock and draw nothing that is kept. They never compare binary
-- strings with "<": Lua would ask the server's locale for the order.
--
-- A script never goes on with a key that it has deleted, or emptied: a node of a
-- cluster that is giving the slot away refuses that, in the middle of the script.
--
-- Redis looks for free memory before a script's first write only. So a script
-- that ends sessions deletes first, and works on a full server; any other puts
-- first, and is refused whole.

local HEAD = 'e'
local SUBJECT_PIECES = {'1', '2', '3', '4'}
local RECORD_PIECES = {'', '1', '2', '3', '4', '5'}
local SLOT_BYTES = 6

-- What follows the slot in the name of a field that a later version may have
-- beside a record. This version never reads what is in it: the field stays where
-- it is, moves with the session, and is gone with it.
local ADDITION = 'x'

-- The head: generation (6), roster version (8), open until (6), then the subject,
-- or its first 44 bytes.
local function head_of(generation)
  local head = redis.call('HGET', KEYS[1], HEAD)
  if head and string.sub(head, 1, 6) == generation then
    return head
  end
  return nil
end

local function subject_of(head)
  local subject = string.sub(head, 21)
  if #subject == 44 then
    for _, name in ipairs(SUBJECT_PIECES) do
      subject = subject .. (redis.call('HGET', KEYS[1], name) or '')
    end
  end
  return subject
end

local function put_epoch(generation, version, open_until, subject)
  local head = generation .. version .. open_until .. string.sub(subject, 1, 44)
  redis.call('HSET', KEYS[1], HEAD, head)
  for at, name in ipairs(SUBJECT_PIECES) do
    local piece = string.sub(subject, 64 * at - 19, 64 * at + 44)
    if piece ~= '' then
      redis.call('HSET', KEYS[1], name, piece)
    end
  end
end

-- The stamp and the instant until when to keep a record have these places in
-- every format, so that a script can judge a record that is newer than it.
local function stamp_of(record)
  return record and string.sub(record, 2, 9)
end

local function kept_until(record)
  return #record >= 15 and struct.unpack('>I6', record, 10) or nil
end

-- ARGV from `first` on are the pieces of the record. An addition is not touched.
local function put_record(slot, first)
  for at, suffix in ipairs(RECORD_PIECES) do
    local piece = ARGV[first + at - 1]
    if piece then
      redis.call('HSET', KEYS[1], slot .. suffix, piece)
    else
      redis.call('HDEL', KEYS[1], slot .. suffix)
    end
  end
end

-- Deletes the sessions in a set of slots with their data.
local function drop(slots)
  for slot in pairs(slots) do
    for _, suffix in ipairs(RECORD_PIECES) do
      redis.call('HDEL', KEYS[1], slot .. suffix)
    end
    redis.call('HDEL', KEYS[1], slot .. ADDITION)
  end
  if next(slots) then
    for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
      if slots[string.sub(field, 1, SLOT_BYTES)] then
        redis.call('HDEL', KEYS[2], field)
      end
    end
  end
end

-- Makes both keys live for at least `lives_for` more milliseconds. Not with
-- PEXPIRE's GT: to that a key without a time to live already lives for ever. The
-- data may be gone; with pcall, because of a slot that is given away.
local function live_on(lives_for)
  if redis.call('PTTL', KEYS[1]) < tonumber(lives_for) then
    redis.call('PEXPIRE', KEYS[1], lives_for)
    redis.pcall('PEXPIRE', KEYS[2], lives_for)
  end
end

-- The data of one session: its field names without the slot, in no order.
local function names_of_data(slot)
  local names = {}
  for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
    if string.sub(field, 1, SLOT_BYTES) == slot then
      names[#names + 1] = string.sub(field, SLOT_BYTES + 1)
    end
  end
  return names
end

-- Those names and their values, in turn. By the hundred: Lua passes only so many at once.
local function data_of(slot)
  local names, data = names_of_data(slot), {}
  for first = 1, #names, 100 do
    local fields = {}
    for at = first, math.min(first + 99, #names) do
      fields[#fields + 1] = slot .. names[at]
    end
    for at, value in ipairs(redis.call('HMGET', KEYS[2], unpack(fields))) do
      data[#data + 1] = names[first + at - 1]
      data[#data + 1] = value
    end
  end
  return data
end
