import io.trino.sql.parser.ParsingOptions;
import io.trino.sql.parser.SqlParser;
import io.trino.sql.parser.StatementSplitter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;

/** Parses files of SQL as Trino does; what a statement means is not looked into. */
class Parse {
    public static void main(String[] files) throws Exception {
        for (String file : files) {
            var statements = new StatementSplitter(Files.readString(Path.of(file)), Set.of(";"));
            if (!statements.getPartialStatement().isBlank() && !statements.getPartialStatement().startsWith("--")) {
                throw new IllegalArgumentException(file + " ends within a statement: " + statements.getPartialStatement());
            }
            for (var s : statements.getCompleteStatements()) {
                new SqlParser().createStatement(s.statement(), new ParsingOptions());
            }
            System.out.println(file + ": " + statements.getCompleteStatements().size() + " statements");
        }
    }
}
