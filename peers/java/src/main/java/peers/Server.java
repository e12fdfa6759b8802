package peers;

import hello.Hello.Request;
import hello.Hello.Response;
import hello.HelloServiceGrpc;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.ForwardingServerCall.SimpleForwardingServerCall;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import meshless.lab.v1.StreamServiceGrpc;
import meshless.lab.v1.Streams.StreamItem;
import meshless.lab.v1.Streams.StreamRequest;
import meshless.lab.v1.Streams.StreamSummary;

/**
 * The grpc-java server of the matrix: both services of the lab behind connections that grpc-java itself ages.
 *
 * <p>It prints one JSON line when it listens and one when it ends (SIGTERM, or its stdin closes).
 */
public final class Server {
  static final Metadata.Key<String> CALL_ID = Metadata.Key.of("meshless-call-id", Metadata.ASCII_STRING_MARSHALLER);
  static final Metadata.Key<String> BACKEND = Metadata.Key.of("meshless-backend", Metadata.ASCII_STRING_MARSHALLER);

  private static final ScheduledExecutorService CLOCK = Executors.newSingleThreadScheduledExecutor();

  public static void main(String[] arguments) throws Exception {
    Options options = new Options(arguments, Map.of(
        "listen", "127.0.0.1:0",
        "name", "grpc-java",
        "service-time-ms", "10",
        "max-connection-age-ms", "0", // 0: connections do not age
        "max-connection-age-grace-ms", "0")); // 0: no limit
    String[] listen = options.text("listen").split(":");
    Ledger ledger = new Ledger(options.text("name"));
    NettyServerBuilder builder = NettyServerBuilder
        .forAddress(new InetSocketAddress(listen[0], Integer.parseInt(listen[1])))
        .addService(new Greeter(options.number("service-time-ms")))
        .addService(new Items())
        .intercept(ledger);
    if (options.number("max-connection-age-ms") > 0) {
      builder.maxConnectionAge(options.number("max-connection-age-ms"), TimeUnit.MILLISECONDS);
    }
    if (options.number("max-connection-age-grace-ms") > 0) {
      builder.maxConnectionAgeGrace(options.number("max-connection-age-grace-ms"), TimeUnit.MILLISECONDS);
    }
    io.grpc.Server server = builder.build().start();
    say(Map.of("listening", listen[0] + ":" + server.getPort()));

    AtomicBoolean ended = new AtomicBoolean();
    Runnable end = () -> {
      if (ended.compareAndSet(false, true)) {
        server.shutdown();
        try {
          server.awaitTermination(1, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
        }
        say(ledger.summary());
      }
    };
    Runtime.getRuntime().addShutdownHook(new Thread(end));
    // A parent that dies closes our stdin, so none is left behind.
    while (System.in.read() >= 0) {}
    end.run();
    Runtime.getRuntime().halt(0);
  }

  private static void say(Map<String, ?> values) {
    System.out.println(Options.json(values));
    System.out.flush();
  }

  /** What was executed, from a handler's begin, whether or not its answer arrived anywhere. */
  private static final class Ledger implements ServerInterceptor {
    private final String name;
    private final Map<String, AtomicLong> executions = new ConcurrentHashMap<>();
    private final Set<String> connections = ConcurrentHashMap.newKeySet();
    private final AtomicLong idsMissing = new AtomicLong();

    Ledger(String name) {
      this.name = name;
    }

    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
      connections.add(String.valueOf(call.getAttributes().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR)));
      String id = headers.get(CALL_ID);
      if (id == null) {
        idsMissing.incrementAndGet();
      } else {
        executions.computeIfAbsent(id, unused -> new AtomicLong()).incrementAndGet();
      }
      ServerCall<Q, A> named = new SimpleForwardingServerCall<>(call) {
        @Override
        public void sendHeaders(Metadata sent) {
          sent.put(BACKEND, name);
          super.sendHeaders(sent);
        }
      };
      return Contexts.interceptCall(Context.current(), named, headers, next);
    }

    /** Counts in `connections` those that carried at least one call. */
    Map<String, Object> summary() {
      long withId = executions.values().stream().mapToLong(AtomicLong::get).sum();
      Map<String, Object> summary = new LinkedHashMap<>();
      summary.put("executed", withId + idsMissing.get());
      summary.put("duplicates", withId - executions.size());
      summary.put("ids_missing", idsMissing.get());
      summary.put("connections", connections.size());
      return summary;
    }
  }

  private static final class Greeter extends HelloServiceGrpc.HelloServiceImplBase {
    private final long serviceMs;

    Greeter(long serviceMs) {
      this.serviceMs = serviceMs;
    }

    @Override
    public void echo(Request request, StreamObserver<Response> answer) {
      Response response = Response.newBuilder().setMessage(request.getMessage()).build();
      CLOCK.schedule(() -> {
        answer.onNext(response);
        answer.onCompleted();
      }, serviceMs, TimeUnit.MILLISECONDS);
    }
  }

  private static final class Items extends StreamServiceGrpc.StreamServiceImplBase {
    @Override
    public void serverStream(StreamRequest request, StreamObserver<StreamItem> answer) {
      send(request, answer, 0);
    }

    private static void send(StreamRequest request, StreamObserver<StreamItem> answer, int sequence) {
      if (sequence == request.getCount()) {
        answer.onCompleted();
        return;
      }
      answer.onNext(StreamItem.newBuilder().setSequence(sequence).setPayload(request.getPayload()).build());
      boolean last = sequence + 1 == request.getCount();
      CLOCK.schedule(() -> send(request, answer, sequence + 1), last ? 0 : request.getIntervalMs(), TimeUnit.MILLISECONDS);
    }

    @Override
    public StreamObserver<StreamItem> clientStream(StreamObserver<StreamSummary> answer) {
      return new StreamObserver<>() {
        private final StreamSummary.Builder total = StreamSummary.newBuilder();

        @Override
        public void onNext(StreamItem item) {
          total.setCount(total.getCount() + 1).setBytes(total.getBytes() + item.getPayload().size());
        }

        @Override
        public void onError(Throwable cancelled) {}

        @Override
        public void onCompleted() {
          answer.onNext(total.build());
          answer.onCompleted();
        }
      };
    }

    @Override
    public StreamObserver<StreamItem> bidiStream(StreamObserver<StreamItem> answer) {
      return new StreamObserver<>() {
        @Override
        public void onNext(StreamItem item) {
          answer.onNext(item);
        }

        @Override
        public void onError(Throwable cancelled) {}

        @Override
        public void onCompleted() {
          answer.onCompleted();
        }
      };
    }
  }
}
