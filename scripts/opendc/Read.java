import java.util.Arrays;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.parquet.hadoop.ParquetReader;
import org.apache.parquet.hadoop.api.InitContext;
import org.apache.parquet.hadoop.api.ReadSupport;
import org.apache.parquet.io.api.Converter;
import org.apache.parquet.io.api.GroupConverter;
import org.apache.parquet.io.api.PrimitiveConverter;
import org.apache.parquet.io.api.RecordMaterializer;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.MessageTypeParser;
import org.apache.parquet.schema.PrimitiveType.PrimitiveTypeName;
import org.apache.parquet.schema.Type;

/**
 * Reads tasks.parquet and fragments.parquet as OpenDC does: with its library, parquet-hadoop, asking for the whole of its
 * published schemas (TaskSchemas.kt, FragmentSchemas.kt), and taking from each column only the type that OpenDC takes. OpenDC
 * itself is in no package registry.
 */
public class Read {
    static final String LIST = "optional group %s (LIST) { repeated group list { optional int32 element; } } ";
    static final String TASKS = "message resource { required int32 id; optional binary name (STRING); "
            + "required int64 submission_time (TIMESTAMP(MILLIS,true)); required int64 duration; required int32 cpu_count; "
            + "required double cpu_capacity; required int64 mem_capacity; optional int32 gpu_count; optional double gpu_capacity; "
            + String.format(LIST, "parents") + String.format(LIST, "children")
            + "optional boolean deferrable; optional int64 deadline; optional int32 num_fragments; optional binary host (STRING); }";
    static final String FRAGMENTS = "message resource_state { required int32 id; required int64 duration; required double cpu_usage; optional double gpu_usage; }";

    public static void main(String[] args) throws Exception {
        double[][] tasks = read(args[0] + "/tasks.parquet", TASKS, "id", "duration", "gpu_count", "gpu_capacity", "submission_time");
        double[][] fragments = read(args[0] + "/fragments.parquet", FRAGMENTS, "id", "duration", "gpu_usage");
        for (double[] task : tasks) {
            double[][] own = Arrays.stream(fragments).filter(f -> f[0] == task[0]).toArray(double[][]::new);
            double ms = Arrays.stream(own).mapToDouble(f -> f[1]).sum();
            double most = Arrays.stream(own).mapToDouble(f -> f[2]).max().orElseThrow();
            if (ms != task[1] || most > task[3] || task[4] < 1.7e12) {
                throw new AssertionError("task " + Arrays.toString(task) + ": fragments of " + ms + " ms, at most " + most + " MHz");
            }
            System.out.printf("task %.0f: %.0f ms in %d fragments, %.0f cores, up to %.0f %% of them%n", task[0], ms, own.length, task[2], 100 * most / task[3]);
        }
    }

    /** The named columns of all rows, as numbers; 0 where a row has none, as in OpenDC. */
    static double[][] read(String path, String schema, String... wanted) throws Exception {
        try (ParquetReader<double[]> reader = ParquetReader.builder(new Support(MessageTypeParser.parseMessageType(schema), wanted), new Path(path)).build()) {
            var rows = new java.util.ArrayList<double[]>();
            for (double[] row = reader.read(); row != null; row = reader.read()) {
                rows.add(row);
            }
            return rows.toArray(double[][]::new);
        }
    }

    static class Support extends ReadSupport<double[]> {
        final MessageType schema;
        final String[] wanted;

        Support(MessageType schema, String[] wanted) {
            this.schema = schema;
            this.wanted = wanted;
        }

        @Override
        public ReadContext init(InitContext context) {
            return new ReadContext(schema);
        }

        @Override
        public RecordMaterializer<double[]> prepareForRead(Configuration c, Map<String, String> meta, MessageType file, ReadContext context) {
            return new Row(schema, wanted);
        }
    }

    static class Row extends RecordMaterializer<double[]> {
        final double[] now;
        final GroupConverter root;

        Row(MessageType schema, String[] wanted) {
            now = new double[wanted.length];
            Converter[] columns = schema.getFields().stream().map(f -> column(f, Arrays.asList(wanted).indexOf(f.getName()))).toArray(Converter[]::new);
            root = new GroupConverter() {
                public Converter getConverter(int i) { return columns[i]; }
                public void start() { Arrays.fill(now, 0); }
                public void end() {}
            };
        }

        /** Takes a column's own type; PrimitiveConverter throws at any other. */
        Converter column(Type f, int at) {
            if (!f.isPrimitive() || at < 0) {
                return f.isPrimitive() ? new Ignored() : new Unread();
            }
            PrimitiveTypeName type = f.asPrimitiveType().getPrimitiveTypeName();
            return switch (type) {
                case INT32 -> new PrimitiveConverter() { public void addInt(int v) { now[at] = v; } };
                case INT64 -> new PrimitiveConverter() { public void addLong(long v) { now[at] = v; } };
                default -> new PrimitiveConverter() { public void addDouble(double v) { now[at] = v; } };
            };
        }

        public double[] getCurrentRecord() { return now.clone(); }
        public GroupConverter getRootConverter() { return root; }
    }

    static class Ignored extends PrimitiveConverter {
        public void addInt(int v) {}
        public void addLong(long v) {}
        public void addDouble(double v) {}
    }

    static class Unread extends GroupConverter {
        public Converter getConverter(int i) { return new Unread(); }
        public void start() {}
        public void end() {}
    }
}
