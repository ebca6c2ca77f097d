import io.trino.sql.parser.SqlParser;
import java.nio.file.Files;
import java.nio.file.Path;

/** Parses files of SQL as Trino does, statements ending in a semicolon at the end of a line; what they mean is not looked into. */
class Parse {
    public static void main(String[] files) throws Exception {
        for (String file : files) {
            int statements = 0;
            for (String statement : Files.readString(Path.of(file)).split(";\n")) {
                if (!statement.isBlank()) {
                    new SqlParser().createStatement(statement);
                    statements++;
                }
            }
            System.out.println(file + ": " + statements + " statements");
        }
    }
}
