package ringfence.peers;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** A record of the topic `fills`, as far as the ledger needs it. */
@JsonIgnoreProperties(ignoreUnknown = true)
record Fill(@JsonProperty("fill_id") String fillId, String instrument, String side, BigDecimal quantity, BigDecimal price, BigDecimal fee) {
    private static final ObjectReader READER = new ObjectMapper().readerFor(Fill.class);

    static Serde<Fill> serde() {
        return Serdes.serdeFrom((topic, fill) -> { throw new UnsupportedOperationException("fills are only read"); },
                (topic, raw) -> decode(raw));
    }

    private static Fill decode(byte[] raw) {
        try {
            return READER.readValue(raw);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
