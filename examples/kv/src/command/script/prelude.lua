-- Prepares a state for one script. `host` has the functions that are written in Rust; it is no global afterwards.
local host = ...
local type, tostring, error, pcall, xpcall = type, tostring, error, pcall, xpcall
local getmetatable, setmetatable = getmetatable, setmetatable

redis = {
    LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
    REPL_ALL = 3, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_NONE = 0,
    REDIS_VERSION = '7.0.15', REDIS_VERSION_NUM = 0x0007000f,
    sha1hex = host.sha1hex,
    call = host.call,
    pcall = host.pcall,
    log = function() end,
    breakpoint = function() return false end,
    replicate_commands = function() return true end,
    set_repl = function() end,
}

function redis.error_reply(text)
    if text:sub(1, 1) == '-' then
        text = text:sub(2)
    elseif not text:find(' ', 1, true) then
        text = 'ERR ' .. text
    end
    return { err = text }
end

function redis.status_reply(text)
    return { ok = text }
end

function redis.setresp(version)
    if version ~= 2 then
        error('RESP version must be 2.', 0)
    end
end

server = redis
cjson = { encode = host.encode, decode = host.decode, null = host.null }
cmsgpack, struct, bit = host.msgpack, host.struct, host.bit
math.random = host.random
math.randomseed = host.randomseed

-- As in Redis, what is caught of a command's error is its text.
local function caught(ok, problem, ...)
    if not ok and type(problem) == 'table' and problem.err then
        problem = problem.err
    elseif not ok and type(problem) == 'userdata' then
        problem = host.text(problem)
    end
    return ok, problem, ...
end

function _G.pcall(...)
    return caught(pcall(...))
end

-- The address of a table differs between replicas.
function _G.tostring(value)
    local meta = type(value) == 'table' and getmetatable(value)
    local is_plain = type(value) == 'table' or type(value) == 'function' or type(value) == 'userdata'
    if is_plain and not (meta and meta.__tostring) then
        return type(value)
    end
    return tostring(value)
end

-- These work on all of a text or a table, outside of the machine that counts steps.
local function costly(library, name, steps)
    local work = library[name]
    library[name] = function(first, ...)
        host.spend(steps(first, ...))
        return work(first, ...)
    end
end

local function bytes(text, times)
    return type(text) == 'string' and #text * (tonumber(times) or 1) / 16 or 0
end

local function once(text)
    return bytes(text)
end

local function items(list)
    return type(list) == 'table' and #list or 0
end

for _, name in ipairs({ 'lower', 'upper', 'reverse', 'sub', 'format', 'byte' }) do
    costly(string, name, once)
end
costly(string, 'rep', function(text, times) return math.max(bytes(text, times), 0) end)
costly(table, 'concat', items)
costly(table, 'insert', function(list, _, item) return item == nil and 0 or items(list) / 16 end)
costly(table, 'remove', function(list, index) return index == nil and 0 or items(list) / 16 end)
costly(table, 'sort', function(list) return items(list) * 20 end)
costly(cjson, 'decode', function(text) return 32 * bytes(text) end)

-- Patterns are searched outside of the machine that counts steps.
for _, name in ipairs({ 'find', 'match', 'gmatch', 'gsub' }) do
    local search = string[name]
    string[name] = function(text, pattern, ...)
        host.check_pattern(text, pattern)
        return search(text, pattern, ...)
    end
end

for _, name in ipairs({ 'load', 'loadstring', 'loadfile', 'dofile', 'require', 'module', 'print', 'newproxy',
    'collectgarbage', 'getfenv', 'setfenv', 'gcinfo', 'coroutine' }) do
    _G[name] = nil
end

setmetatable(_G, {
    __index = function(_, name)
        error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
    end,
    __newindex = function()
        error('Attempt to modify a readonly table', 2)
    end,
    __metatable = false,
})

-- Runs a script. Returns false, the error and its line if there is one.
local function run(script)
    local line
    local ok, result = xpcall(script, function(problem)
        line = host.line()
        return problem
    end)
    return ok, result, line
end

local names = 'Library names can only contain letters, numbers, or underscores(_) and must be at least one character long'
local flags = {
    ['no-writes'] = true, ['allow-oom'] = true, ['allow-stale'] = true, ['no-cluster'] = true,
    ['allow-cross-slot-keys'] = true,
}

-- Returns the functions that a library registers. Meanwhile it can give no commands.
local function functions_of(library)
    local functions, whole = {}, redis
    local function register(first, callback)
        local given = type(first) == 'table' and first or { function_name = first, callback = callback }
        local name = given.function_name
        if type(name) ~= 'string' then
            error('function_name argument given to redis.register_function must be a string', 0)
        elseif type(given.callback) ~= 'function' then
            error('callback argument given to redis.register_function must be a function', 0)
        elseif not name:find('^[%w_]+$') then
            error(names, 0)
        elseif functions[name] then
            error('Function already exists in the library', 0)
        end
        for _, flag in ipairs(given.flags or {}) do
            if not flags[flag] then
                error('unknown flag given', 0)
            end
        end
        functions[name] = { callback = given.callback, description = given.description, flags = given.flags }
    end
    redis = setmetatable({ register_function = register, log = whole.log }, {
        __index = function(_, name)
            error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
        end,
    })
    server = redis
    library()
    redis, server = whole, whole
    return functions
end

return {
    run = run,
    register = function(library)
        return run(function() return functions_of(library) end)
    end,
    call = function(library, name, keys, arguments)
        return run(function() return functions_of(library)[name].callback(keys, arguments) end)
    end,
}
