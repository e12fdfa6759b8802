package peers;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.concurrent.TimeUnit;

/**
 * The grpc-java client of the xDS checks: calls again and again, and prints a line for each.
 *
 * <p>A line is the time of the call's end in ms, how long it took, and the backend or an exclamation mark and the code.
 */
public final class XdsClient {
  private static final Metadata.Key<String> BACKEND = Metadata.Key.of("meshless-backend", Metadata.ASCII_STRING_MARSHALLER);

  /** What ring_hash goes by, where it is in use. */
  private static final Metadata.Key<String> SESSION = Metadata.Key.of("session", Metadata.ASCII_STRING_MARSHALLER);

  private static final MethodDescriptor.Marshaller<byte[]> RAW = new MethodDescriptor.Marshaller<>() {
    @Override
    public InputStream stream(byte[] value) {
      return new ByteArrayInputStream(value);
    }

    @Override
    public byte[] parse(InputStream stream) {
      try {
        return stream.readAllBytes();
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  };

  private static final MethodDescriptor<byte[], byte[]> ECHO = MethodDescriptor.<byte[], byte[]>newBuilder()
      .setType(MethodDescriptor.MethodType.UNARY)
      .setFullMethodName("hello.HelloService/Echo")
      .setRequestMarshaller(RAW)
      .setResponseMarshaller(RAW)
      .build();

  public static void main(String[] arguments) throws Exception {
    String target = argument(arguments, "--target", "");
    int workers = Integer.parseInt(argument(arguments, "--workers", "1"));
    long pause = Long.parseLong(argument(arguments, "--pause-ms", "10"));
    Channel channel = Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()).build();
    for (int worker = 0; worker < workers; worker++) {
      Thread thread = new Thread(() -> work(channel, pause));
      thread.setDaemon(true);
      thread.start();
    }
    // Its end is the end of whoever started this.
    System.in.read();
    System.exit(0);
  }

  private static void work(Channel plain, long pause) {
    String[] seen = new String[1];
    Channel channel = ClientInterceptors.intercept(plain, headers(seen));
    while (true) {
      long begun = System.currentTimeMillis();
      String result;
      seen[0] = "unnamed";
      try {
        CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(20, TimeUnit.SECONDS);
        ClientCalls.blockingUnaryCall(channel, ECHO, options, new byte[] {0x0a, 5, 'h', 'e', 'l', 'l', 'o'});
        result = seen[0];
      } catch (StatusRuntimeException error) {
        result = "!" + error.getStatus().getCode();
        System.err.println(error.getMessage());
      }
      long ended = System.currentTimeMillis();
      System.out.println(ended + " " + (ended - begun) + " " + result);
      try {
        Thread.sleep(pause);
      } catch (InterruptedException error) {
        return;
      }
    }
  }

  /** Notes the header that names the backend. */
  private static ClientInterceptor headers(String[] seen) {
    return new ClientInterceptor() {
      @Override
      public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
        return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
          @Override
          public void start(Listener<A> listener, Metadata metadata) {
            metadata.put(SESSION, "one");
            super.start(new SimpleForwardingClientCallListener<>(listener) {
              @Override
              public void onHeaders(Metadata headers) {
                if (headers.containsKey(BACKEND)) {
                  seen[0] = headers.get(BACKEND);
                }
                super.onHeaders(headers);
              }
            }, metadata);
          }
        };
      }
    };
  }

  private static String argument(String[] arguments, String name, String otherwise) {
    for (int at = 0; at + 1 < arguments.length; at++) {
      if (arguments[at].equals(name)) {
        return arguments[at + 1];
      }
    }
    return otherwise;
  }
}
