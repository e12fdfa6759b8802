package peers;

import io.grpc.Attributes;
import io.grpc.EquivalentAddressGroup;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.NameResolverRegistry;
import io.grpc.Status;
import io.grpc.StatusOr;
import java.net.InetSocketAddress;
import java.net.URI;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;

/**
 * The grpc-java client of the matrix: a closed loop of calls through pick_first or round_robin, counted by outcome.
 *
 * <p>It uses grpc-java as its users do: no wait-for-ready, no retry policy, so that only what grpc-java heals by itself is healed.
 */
public final class Client {
  private static final long WARM_UP_NS = 3_000_000_000L;
  private static final long COLD_DEADLINE_MS = 30_000;

  private long ok;
  private long failed;
  private final Map<String, Long> byStatus = new TreeMap<>();
  private final Map<String, Long> backends = new TreeMap<>();

  public static void main(String[] arguments) throws Exception {
    Options options = new Options(arguments, Map.of(
        "target", "", // ipv4:host:port[,host:port…]
        "policy", "pick_first",
        "calls", "0", // 0: no limit
        "seconds", "0", // 0: no limit
        "in-flight", "10",
        "deadline-ms", "1000",
        "shape", "unary",
        "items", "5",
        "interval-ms", "20"));
    long calls = options.number("calls");
    long seconds = options.number("seconds");
    if (calls == 0 && seconds == 0) {
      System.err.println("give --calls or --seconds");
      System.exit(2);
    }
    NameResolverRegistry.getDefaultRegistry().register(new AddressList());
    ManagedChannel channel = ManagedChannelBuilder.forTarget(options.text("target").replaceFirst("^ipv4:", "list:///"))
        .defaultLoadBalancingPolicy(options.text("policy"))
        .usePlaintext()
        .build();
    Shapes shapes = new Shapes(channel, options.text("shape"), (int) options.number("items"), options.number("interval-ms"));

    Client tally = new Client();
    // 31 random bits over 32 that count, so that clients of one server do not share ids.
    AtomicLong lastId = new AtomicLong((new SecureRandom().nextInt() & 0x7fff_ffffL) << 32);
    AtomicLong begun = new AtomicLong();
    // A JVM that has just started takes its time for a first call, on a busy machine more than a call's deadline. Those calls
    // count like all others, but they may take longer.
    long warm = System.nanoTime() + WARM_UP_NS;
    long end = warm + seconds * 1_000_000_000L;
    List<Thread> workers = new ArrayList<>();
    for (long n = 0; n < options.number("in-flight"); n++) {
      Thread worker = new Thread(() -> {
        while ((seconds == 0 || System.nanoTime() < end) && (calls == 0 || begun.incrementAndGet() <= calls)) {
          boolean cold = System.nanoTime() < warm;
          tally.note(shapes.run(lastId.incrementAndGet(), cold ? COLD_DEADLINE_MS : options.number("deadline-ms")));
        }
      });
      worker.start();
      workers.add(worker);
    }
    for (Thread worker : workers) {
      worker.join();
    }
    System.out.println(Options.json(tally.summary()));
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }

  private synchronized void note(Shapes.Outcome outcome) {
    if (outcome.status().isOk()) {
      ok++;
      backends.merge(outcome.backend(), 1L, Long::sum);
      return;
    }
    failed++;
    String code = outcome.status().getCode().name();
    if (byStatus.merge(code, 1L, Long::sum) == 1) {
      Status status = outcome.status();
      System.err.println("first " + code + ": " + code + ": " + status.getDescription() + (status.getCause() == null ? "" : " " + status.getCause()));
    }
  }

  private Map<String, Object> summary() {
    Map<String, Object> summary = new LinkedHashMap<>();
    summary.put("ok", ok);
    summary.put("failed", failed);
    summary.put("by_status", byStatus);
    summary.put("backends", backends);
    return summary;
  }

  /** grpc-java has no `ipv4:` targets: hands the list to the balancer. */
  private static final class AddressList extends NameResolverProvider {
    @Override
    protected boolean isAvailable() {
      return true;
    }

    @Override
    protected int priority() {
      return 5;
    }

    @Override
    public String getDefaultScheme() {
      return "list";
    }

    @Override
    public NameResolver newNameResolver(URI target, NameResolver.Args args) {
      if (!"list".equals(target.getScheme())) {
        return null;
      }
      List<EquivalentAddressGroup> addresses = new ArrayList<>();
      for (String address : target.getPath().substring(1).split(",")) {
        String[] parts = address.split(":");
        addresses.add(new EquivalentAddressGroup(new InetSocketAddress(parts[0], Integer.parseInt(parts[1]))));
      }
      return new NameResolver() {
        @Override
        public String getServiceAuthority() {
          return "peers";
        }

        @Override
        public void start(Listener2 listener) {
          listener.onResult(ResolutionResult.newBuilder()
              .setAddressesOrError(StatusOr.fromValue(addresses))
              .setAttributes(Attributes.EMPTY)
              .build());
        }

        @Override
        public void shutdown() {}
      };
    }
  }
}
