// For pages without a 3D view: draw the charts.
"use strict";
equipose.start();
