"""What is asked of a cluster through librdkafka, which shares no code with us: topics, and records written and read.
Bytes travel as hexadecimal text, so that every answer is JSON. Owns no process; brokers.py does."""

import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic

SECONDS_MAX = 30


def quiet(bootstrap, **settings):
    return {"bootstrap.servers": bootstrap, "log_level": 0, **settings}


def done(futures):
    for future in futures.values():
        future.result(SECONDS_MAX)


class Librdkafka:
    """One client of the cluster that can be reached there."""

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = AdminClient(quiet(bootstrap))

    # --- topics

    def create_topic(self, topic, partitions=1, replicas=1, config=None):
        """Until every partition has a leader."""
        new = NewTopic(topic, num_partitions=partitions, replication_factor=replicas, config=config or {})
        deadline = time.monotonic() + SECONDS_MAX
        while True:
            try:
                done(self.admin.create_topics([new]))
                break
            except KafkaException as error:
                # One of this name is still being deleted.
                if error.args[0].name() != "TOPIC_ALREADY_EXISTS" or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        self.wait_leaders(topic, partitions)

    def wait_leaders(self, topic, partitions):
        deadline = time.monotonic() + SECONDS_MAX
        while True:
            leaders = self.leaders(topic)
            if len(leaders) == partitions and min(leaders.values()) >= 0:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{topic} has no leader for every partition: {leaders}")
            time.sleep(0.05)

    def leaders(self, topic):
        """Node ids by partition."""
        known = self.admin.list_topics(topic, timeout=SECONDS_MAX).topics[topic].partitions
        return {number: partition.leader for number, partition in known.items()}

    def delete_topic(self, topic):
        done(self.admin.delete_topics([topic]))

    def add_partitions(self, topic, partitions):
        done(self.admin.create_partitions([NewPartitions(topic, partitions)]))
        self.wait_leaders(topic, partitions)

    def alter_config(self, topic, config):
        change = AlterConfigOpType.SET
        entries = [ConfigEntry(name, value, incremental_operation=change) for name, value in config.items()]
        done(self.admin.incremental_alter_configs([ConfigResource("topic", topic, incremental_configs=entries)]))

    def delete_records(self, topic, partition, before):
        done(self.admin.delete_records([TopicPartition(topic, partition, before)]))

    def edges(self, topic, partition):
        """The first offset that is there, and the one after the last."""
        consumer = Consumer(quiet(self.bootstrap, **{"group.id": "nobody"}))
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=SECONDS_MAX)
        finally:
            consumer.close()

    # --- records

    def produce(self, topic, records, config=None, transaction=None):
        """Offsets, in the order of the records. A transaction ends as `commit` or `abort`, or not at all (`hang`)."""
        settings = {"acks": "all", "enable.idempotence": True, **(config or {})}
        if transaction:
            settings["transactional.id"] = f"{transaction}-{time.monotonic_ns()}"
        producer = Producer(quiet(self.bootstrap, **settings))
        offsets = [None] * len(records)
        if transaction:
            producer.init_transactions(SECONDS_MAX)
            producer.begin_transaction()
        for at, record in enumerate(records):
            write(producer, topic, record, lambda error, message, at=at: told(offsets, at, error, message))
            producer.poll(0)
        if producer.flush(SECONDS_MAX) != 0:
            raise RuntimeError(f"some of {len(records)} records were not written within {SECONDS_MAX} s")
        for offset in offsets:
            if isinstance(offset, str):
                raise RuntimeError(offset)
        if transaction in ("commit", "abort"):
            getattr(producer, f"{transaction}_transaction")(SECONDS_MAX)
        return offsets

    def consume(self, topic, partition, start=0, until=None, config=None):
        """Every record from `start` on, up to the end, or as many as lie below `until`, waiting for them."""
        settings = {"group.id": "nobody", "enable.auto.commit": False, "enable.partition.eof": True}
        settings |= {"isolation.level": "read_uncommitted", "auto.offset.reset": "error", **(config or {})}
        consumer = Consumer(quiet(self.bootstrap, **settings))
        consumer.assign([TopicPartition(topic, partition, start)])
        found, deadline = [], time.monotonic() + SECONDS_MAX
        try:
            while until is None or not found or found[-1]["offset"] < until - 1:
                message = consumer.poll(0.2)
                if message is not None and message.error() is None:
                    found.append(record_of(message))
                elif message is not None and message.error().name() == "_PARTITION_EOF":
                    if until is None:
                        break
                elif message is not None:
                    raise KafkaException(message.error())
                elif time.monotonic() > deadline:
                    raise RuntimeError(f"{len(found)} records of {topic}-{partition} within {SECONDS_MAX} s")
            return found
        finally:
            consumer.close()


def write(producer, topic, record, answered):
    options = {name: record[name] for name in ("partition", "timestamp") if name in record}
    if "headers" in record:
        options["headers"] = [(name, unhex(value)) for name, value in record["headers"]]
    key, value = unhex(record.get("key")), unhex(record.get("value"))
    producer.produce(topic, key=key, value=value, on_delivery=answered, **options)


def told(offsets, at, error, message):
    offsets[at] = str(error) if error else message.offset()


def record_of(message):
    kind, timestamp = message.timestamp()
    record = {"offset": message.offset(), "timestamp": timestamp, "log_append_time": kind == 2}
    record |= {"key": tohex(message.key()), "value": tohex(message.value())}
    return record | {"headers": [[name, tohex(value)] for name, value in message.headers() or []]}


def unhex(text):
    return None if text is None else bytes.fromhex(text)


def tohex(data):
    return None if data is None else data.hex()
