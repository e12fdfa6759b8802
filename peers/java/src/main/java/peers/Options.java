package peers;

import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** `--name value` pairs; a name that is not known ends the program. */
final class Options {
  private final Map<String, String> values;

  Options(String[] arguments, Map<String, String> defaults) {
    values = new HashMap<>(defaults);
    for (int i = 0; i < arguments.length; i += 2) {
      String name = arguments[i].replaceFirst("^--", "");
      if (!defaults.containsKey(name) || i + 1 == arguments.length) {
        System.err.println("cannot use " + arguments[i] + "; known: " + List.copyOf(defaults.keySet()));
        System.exit(2);
      }
      values.put(name, arguments[i + 1]);
    }
  }

  String text(String name) {
    return values.get(name);
  }

  long number(String name) {
    return Long.parseLong(values.get(name));
  }

  /** One line of JSON: numbers as they are, maps nested. */
  static String json(Map<String, ?> values) {
    StringBuilder text = new StringBuilder("{");
    values.forEach((name, value) -> {
      if (text.length() > 1) {
        text.append(',');
      }
      text.append('"').append(name).append("\":");
      if (value instanceof Map<?, ?> nested) {
        @SuppressWarnings("unchecked")
        Map<String, ?> map = (Map<String, ?>) nested;
        text.append(json(map));
      } else if (value instanceof Number) {
        text.append(value);
      } else {
        text.append('"').append(value).append('"');
      }
    });
    return text.append('}').toString();
  }
}
