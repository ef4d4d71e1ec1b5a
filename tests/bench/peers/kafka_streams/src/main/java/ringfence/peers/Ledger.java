package ringfence.peers;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** One account: cash, quantities by instrument, and the ids of its newest fills. Compact binary in the store. */
final class Ledger {
    private static final int WINDOW = 256; // as the worker's engine.duplicate_window

    private BigDecimal cash = BigDecimal.ZERO;
    private final Map<String, BigDecimal> quantities = new HashMap<>();
    private final ArrayDeque<String> recent = new ArrayDeque<>();

    /** Enters the fill; false if its id was seen. */
    boolean apply(Fill fill) {
        if (recent.contains(fill.fillId())) {
            return false;
        }
        recent.addLast(fill.fillId());
        if (recent.size() > WINDOW) {
            recent.removeFirst();
        }
        BigDecimal quantity = fill.side().equals("buy") ? fill.quantity() : fill.quantity().negate();
        cash = cash.subtract(quantity.multiply(fill.price())).subtract(fill.fee());
        BigDecimal total = quantities.merge(fill.instrument(), quantity, BigDecimal::add);
        if (total.signum() == 0) {
            quantities.remove(fill.instrument());
        }
        return true;
    }

    static Serde<Ledger> serde() {
        return Serdes.serdeFrom((topic, ledger) -> ledger == null ? null : ledger.encode(),
                (topic, raw) -> raw == null ? null : decode(raw));
    }

    private byte[] encode() {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(512);
        try (DataOutputStream out = new DataOutputStream(bytes)) {
            write(out, cash);
            out.writeShort(quantities.size());
            for (Map.Entry<String, BigDecimal> each : quantities.entrySet()) {
                out.writeUTF(each.getKey());
                write(out, each.getValue());
            }
            out.writeShort(recent.size());
            for (String id : recent) {
                out.writeUTF(id);
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return bytes.toByteArray();
    }

    private static Ledger decode(byte[] raw) {
        Ledger ledger = new Ledger();
        try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(raw))) {
            ledger.cash = read(in);
            for (int left = in.readShort(); left > 0; left--) {
                String instrument = in.readUTF();
                ledger.quantities.put(instrument, read(in));
            }
            for (int left = in.readShort(); left > 0; left--) {
                ledger.recent.addLast(in.readUTF());
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return ledger;
    }

    private static void write(DataOutputStream out, BigDecimal number) throws IOException {
        byte[] unscaled = number.unscaledValue().toByteArray();
        out.writeByte(unscaled.length);
        out.write(unscaled);
        out.writeByte(number.scale());
    }

    private static BigDecimal read(DataInputStream in) throws IOException {
        byte[] unscaled = in.readNBytes(in.readByte());
        return new BigDecimal(new BigInteger(unscaled), in.readByte());
    }
}
