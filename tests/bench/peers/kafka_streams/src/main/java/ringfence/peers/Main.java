package ringfence.peers;

import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** Folds fills into ledgers in RocksDB, with a changelog: arguments are bootstrap, topic, application id, state folder, commit interval in ms. */
public final class Main {
    private static final String STORE = "ledgers";

    public static void main(String[] arguments) throws InterruptedException {
        KafkaStreams streams = new KafkaStreams(topology(arguments[1]), settings(arguments));
        CountDownLatch ended = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close();
            ended.countDown();
        }));
        streams.start();
        ended.await();
    }

    private static Properties settings(String[] arguments) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[2]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[3]);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, arguments[4]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.AT_LEAST_ONCE);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, "1");
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, String.valueOf(64 * 1024 * 1024));
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        settings.put(StreamsConfig.consumerPrefix("max.poll.records"), "5000");
        settings.put(StreamsConfig.producerPrefix("batch.size"), String.valueOf(256 * 1024));
        return settings;
    }

    private static Topology topology(String topic) {
        Topology topology = new Topology();
        topology.addSource("fills", Serdes.String().deserializer(), Fill.serde().deserializer(), topic);
        topology.addProcessor("ledger", new Folding(), "fills");
        return topology;
    }

    private static final class Folding implements ProcessorSupplier<String, Fill, Void, Void> {
        @Override
        public Processor<String, Fill, Void, Void> get() {
            return new Fold();
        }

        @Override
        public Set<StoreBuilder<?>> stores() {
            return Set.of(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), Serdes.String(), Ledger.serde())
                    .withCachingEnabled());
        }
    }

    private static final class Fold implements Processor<String, Fill, Void, Void> {
        private KeyValueStore<String, Ledger> store;

        @Override
        public void init(ProcessorContext<Void, Void> context) {
            store = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<String, Fill> record) {
            Ledger ledger = store.get(record.key());
            if (ledger == null) {
                ledger = new Ledger();
            }
            if (ledger.apply(record.value())) {
                store.put(record.key(), ledger);
            }
        }
    }
}
