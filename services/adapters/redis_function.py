"""The function through which shards are written, and the one that puts a damaged shard aside, as a Redis (or Valkey) function library.

Rows, offsets, claim and epoch change together or not at all: a function call is one entry of the append-only file and of the
replication stream. Keys share a hash tag, so a shard lives on one slot of a cluster.
"""

from typing import Final

LIBRARY: Final = "ringfence_v1"
FLUSH: Final = "ringfence_flush_v1"
ASIDE: Final = "ringfence_aside_v1"  # KEYS: any number of keys, then as many to rename them to; those that are not there are left out

# KEYS: buckets, meta. ARGV: epoch, topic count n, n x (topic, expected offset or ""), field count m, m x (meta field, value),
# row count s, s x (field, row), delete count d, d x field.
SOURCE: Final = f"""#!lua name={LIBRARY}
local CHUNK = 1000

local function write(command, key, args, first, count)
  local at, last = first, first + count - 1
  while at <= last do
    local stop = math.min(at + CHUNK * 2 - 1, last)
    redis.call(command, key, unpack(args, at, stop))
    at = stop + 1
  end
  return first + count
end

local function flush(keys, args)
  local buckets, meta = keys[1], keys[2]
  local epoch, topics = args[1], tonumber(args[2])
  local stored_epoch = redis.call('HGET', meta, 'epoch')
  local same = not stored_epoch or tonumber(stored_epoch) ~= nil  -- else it is damaged: whoever loads it will see
  if stored_epoch and same and tonumber(epoch) < tonumber(stored_epoch) then
    return {{'FENCED', stored_epoch}}
  end
  local at, answer = 3, {{'ROLLBACK'}}
  for i = 1, topics do
    local stored = redis.call('HGET', meta, 'offset:' .. args[at]) or ''
    if stored ~= args[at + 1] then same = false end
    answer[#answer + 1] = args[at]
    answer[#answer + 1] = stored
    at = at + 2
  end
  if not same then return answer end
  local fields = tonumber(args[at])
  at = write('HSET', meta, args, at + 1, fields * 2)
  local rows = tonumber(args[at])
  at = write('HSET', buckets, args, at + 1, rows * 2)
  local deletes = tonumber(args[at])
  write('HDEL', buckets, args, at + 1, deletes)
  return {{'OK'}}
end

local function aside(keys, args)
  local half = #keys / 2
  for i = 1, half do
    if redis.call('EXISTS', keys[i]) == 1 then redis.call('RENAME', keys[i], keys[i + half]) end
  end
  return {{'OK'}}
end

redis.register_function('{FLUSH}', flush)
redis.register_function('{ASIDE}', aside)
"""
