-- How far topics of senders are taken in. Moves after what was stored of a message is durable, and
-- only from where its reader found it, so a reader that lost its partition moves nothing.
CREATE TABLE intake (
    cluster TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    -- Of the last message that was taken in. Its time tells it from one of a topic made anew.
    message_offset INTEGER NOT NULL,
    stamp INTEGER NOT NULL, -- milliseconds since 1970; -1: unknown
    PRIMARY KEY (cluster, topic, partition)
) STRICT;

-- Items of messages that no log can take, until somebody tries them again or discards them. What
-- they say stays with the topic: it may be personal.
CREATE TABLE refused_message (
    cluster TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    message_offset INTEGER NOT NULL,
    stamp INTEGER NOT NULL,
    item INTEGER NOT NULL, -- from 0; -1: the message as a whole
    code TEXT NOT NULL,
    field TEXT,
    what TEXT NOT NULL,
    refused_at INTEGER NOT NULL, -- microseconds since 1970
    PRIMARY KEY (topic, partition, message_offset, cluster, stamp, item)
) STRICT;
