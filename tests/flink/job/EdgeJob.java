import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * A job that does as it is told, in terms that every Flink from 1.13 to 2.3 has.
 *
 * <p>Arguments: a mode, and how many milliseconds each of its elements takes. {@code finish} ends after 20 elements; {@code stream} goes on for
 * ever; {@code fail} throws at the 20th; {@code flap} throws there, too, and starts again five times; {@code refuse} fails before there is a job.
 */
public final class EdgeJob {
  private static final long ELEMENTS = 20;

  /** Takes its time with each element, and throws at the last if it is to. */
  static final class Sensor implements MapFunction<Long, Long> {
    private final boolean breaks;
    private final long millis;

    Sensor(boolean breaks, long millis) {
      this.breaks = breaks;
      this.millis = millis;
    }

    @Override
    public Long map(Long value) throws Exception {
      Thread.sleep(millis);
      if (breaks && value >= ELEMENTS) {
        throw new IllegalStateException("sensor value " + value + " is out of range");
      }
      return value;
    }
  }

  public static void main(String[] arguments) throws Exception {
    String mode = arguments[0];
    if (mode.equals("refuse")) {
      throw new IllegalArgumentException("there is no sensor of this name");
    }
    boolean restarts = mode.equals("flap");
    Configuration configuration = new Configuration();
    // The name before Flink 2, and since.
    for (String key : new String[] {"restart-strategy", "restart-strategy.type"}) {
      configuration.setString(key, restarts ? "fixed-delay" : "none");
    }
    configuration.setString("restart-strategy.fixed-delay.attempts", "5");
    configuration.setString("restart-strategy.fixed-delay.delay", "100 ms");
    StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(configuration);
    environment.setParallelism(1);
    boolean breaks = restarts || mode.equals("fail");
    long last = mode.equals("finish") ? ELEMENTS : Long.MAX_VALUE;
    environment
        .fromSequence(1, last)
        .map(new Sensor(breaks, Long.parseLong(arguments[1])))
        .returns(Types.LONG)
        .filter(value -> value < 0)
        .print();
    environment.execute("edge-" + mode);
  }
}
