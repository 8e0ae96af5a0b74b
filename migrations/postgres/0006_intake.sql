-- How far topics of senders are taken in. Moves after what was stored of a message is durable, and
-- only from where its reader found it, so a reader that lost its partition moves nothing.
CREATE TABLE intake (
    cluster text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition bigint NOT NULL,
    -- Of the last message that was taken in. Its time tells it from one of a topic made anew.
    message_offset bigint NOT NULL,
    stamp bigint NOT NULL, -- milliseconds since 1970; -1: unknown
    PRIMARY KEY (cluster, topic, partition)
);

-- Items of messages that no log can take, until somebody tries them again or discards them. What
-- they say stays with the topic: it may be personal.
CREATE TABLE refused_message (
    cluster text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition bigint NOT NULL,
    message_offset bigint NOT NULL,
    stamp bigint NOT NULL,
    item bigint NOT NULL, -- from 0; -1: the message as a whole
    code text NOT NULL,
    field text,
    what text NOT NULL,
    refused_at bigint NOT NULL, -- microseconds since 1970
    PRIMARY KEY (topic, partition, message_offset, cluster, stamp, item)
);
